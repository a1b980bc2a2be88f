"""Shared blocks of networks, each used by two methods or more.

Tensors are (batch, time, channels); masks are bool, True where something exists.  Parameter names
are those of the published state dicts.  Blocks know nothing of which streams there are, of
protocols or of files.
"""
