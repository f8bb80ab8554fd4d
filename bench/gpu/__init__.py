"""What `bench.gpu_check` runs on a GPU, each part in a process of its own."""
