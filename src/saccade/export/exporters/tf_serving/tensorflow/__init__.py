"""What runs in a process with TensorFlow: the graph told again in its operators, pictures
decoded by them, the SavedModel.

value.py        a tensor in either order of axes
node.py         one operator of the ONNX graph
elementwise.py, layers.py, axes.py   the operators, by what they do
graph.py        the whole graph
picture.py      encoded pictures to network input
write.py        the SavedModel with its signatures, tried out on the golden samples
warmup.py       requests that TensorFlow Serving runs before it answers
"""
