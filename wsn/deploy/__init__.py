"""Writing subnets as files that need no wsn: plain modules, ONNX, exported programs, int8, Hugging Face folders."""
