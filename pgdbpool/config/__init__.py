"""The user's dict, read once into frozen dataclasses."""

from pgdbpool.config.options import EndpointOptions, GroupOptions, PoolOptions
from pgdbpool.config.reading import checked, parse

__all__ = ["EndpointOptions", "GroupOptions", "PoolOptions", "checked", "parse"]
