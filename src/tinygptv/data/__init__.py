"""From a public data set to checked records in WebDataset shards, and from shards to batches."""
