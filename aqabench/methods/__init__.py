"""In a checkout the files of this package lie in the top-level folder ``methods/``."""

from aqabench.resources import extend_path

extend_path(__path__, "methods")
