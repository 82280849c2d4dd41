"""Texts of people, with all that tokenizers, templates and terminals give a meaning."""

HARMLESS = (
    "a\tb\r\nc\rd",
    "left \u202eright\u202c \u200f",
    "a <ImageHere> b",
    "<image>\nwhat is it?",
    "###Human: hi ### bye #####",
    "a<|endoftext|>b",
    "a\0b\x07c\x1b[31m",
    "\u0085 \ufeff \u2028 \u200b.",
    "<Img></Img> {} [vqa] {{x}}",
    "x" * 20_000,
)
"""What people's texts have in them."""
