"""The Levenshtein distance of two texts, in C."""

from fastdist._distance import distance

__all__ = ["distance"]
