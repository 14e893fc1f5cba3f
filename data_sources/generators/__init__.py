"""What the generators of the sources share: how to damage, count, write and stream records. Readers know none of it."""
