"""The data contract: learned, loosened or tightened, judged."""
