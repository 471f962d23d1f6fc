"""Stateless random changes to training examples: a seed in, the same result out."""
