"""Families of pretrained models, one module each.

To add a family, add a module here that declares `FAMILY`, a `l3embedding.models.registry.Family`. No list has to be
extended: the registry imports all modules in this folder, so a new family is one new file, and
`load_model`, `sea models` and `sea fetch` know it.

All modules are imported whenever a model is named or listed. So they must not import a framework (Keras,
TensorFlow, PyTorch) at their top: a model names its loader as `module:function`, which is imported only when the
model is loaded. The function may be in the same module, if it imports its framework itself.
"""
