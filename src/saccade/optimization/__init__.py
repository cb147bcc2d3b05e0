"""Faster graphs of a sealed package, each measured and certified before it may serve."""
