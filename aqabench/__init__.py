"""aqabench: which incomplete-multimodal AQA method is better, by how much, and is it real?"""

__version__ = "0.1.0"
