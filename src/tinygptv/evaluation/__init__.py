"""How good the model is: strict metrics, question lists with their baselines, and pictures. No model code."""
