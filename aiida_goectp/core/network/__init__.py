"""GoeCTP in torch: graph, frame, backbones, heads, checkpoints."""
