"""The model. Importing this package registers its classes with transformers' Auto classes."""

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from tinygptv.model.configuration import TinyGPTVConfig, TinyGPTVTextConfig
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.phi import TinyGPTVPhiForCausalLM
from tinygptv.model.processing import TinyGPTVProcessor

AutoConfig.register("tinygptv", TinyGPTVConfig)
AutoConfig.register("tinygptv_text", TinyGPTVTextConfig)
AutoModelForCausalLM.register(TinyGPTVTextConfig, TinyGPTVPhiForCausalLM)
AutoModelForImageTextToText.register(TinyGPTVConfig, TinyGPTVForConditionalGeneration)
AutoProcessor.register(TinyGPTVConfig, TinyGPTVProcessor)

__all__ = [
    "TinyGPTVConfig",
    "TinyGPTVForConditionalGeneration",
    "TinyGPTVPhiForCausalLM",
    "TinyGPTVProcessor",
    "TinyGPTVTextConfig",
]
