"""``python -m aqabench``."""

from aqabench.cli import main

main()
