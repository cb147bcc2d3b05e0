"""Files of PyTorch that hold a graph: programs of torch.export and TorchScript."""
