"""Weights of others: the authors' files, Microsoft's and Hugging Face's Phi-2, Hugging Face's BLIP-2; in and out.

    tensors = open_tensors(path)                                    # lazy, safetensors or pickle, file or folder
    language = convert_language_model(tensors, heads=32)            # names and layout of TinyGPTVPhiForCausalLM
    encoder = convert_image_encoder(open_tensors(vision), open_tensors(qformer))     # of TinyGPTVImageEncoder

Both return ``Converted``: ``tensors`` by our names, complete and of the right shapes (memory-mapped where a name alone
changed), ``ignored`` names with the reason, and ``fresh`` names that the files lack (the norms that TinyGPT-V adds to
Phi-2, which start at 1 and 0). What cannot be accounted for raises ``CheckpointError``: one line with the names.
"""

from tinygptv.model.authors.convert import Converted, convert_image_encoder, convert_language_model
from tinygptv.model.authors.foreign import open_tensors

__all__ = ["Converted", "convert_image_encoder", "convert_language_model", "open_tensors"]
