"""The model. Importing this package registers its classes with transformers' Auto classes."""

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from tinygptv.model.configuration import TinyGPTVConfig
from tinygptv.model.language import ARCHITECTURES
from tinygptv.model.language.phi import TinyGPTVPhiForCausalLM, TinyGPTVTextConfig
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.processing import TinyGPTVProcessor

for architecture in ARCHITECTURES.values():
    AutoConfig.register(architecture.model_type, architecture.config)
    AutoModelForCausalLM.register(architecture.config, architecture.model)
AutoConfig.register("tinygptv", TinyGPTVConfig)
AutoModelForImageTextToText.register(TinyGPTVConfig, TinyGPTVForConditionalGeneration)
AutoProcessor.register(TinyGPTVConfig, TinyGPTVProcessor)

__all__ = [
    "TinyGPTVConfig",
    "TinyGPTVForConditionalGeneration",
    "TinyGPTVPhiForCausalLM",
    "TinyGPTVProcessor",
    "TinyGPTVTextConfig",
]
