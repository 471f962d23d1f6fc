"""Making a trained run smaller or better in integers: quantisation-aware training, pruning, clustering."""
