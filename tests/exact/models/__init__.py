"""Real models on real data, plain PyTorch: what the accuracy and speed tables are measured on."""
