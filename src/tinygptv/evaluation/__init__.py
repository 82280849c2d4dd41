"""How good a model is: what is asked, how it is let answer, strict metrics beside baselines, reports and pictures."""
