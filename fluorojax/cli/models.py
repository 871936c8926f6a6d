"""``fluorojax models``: the generative models that ship with the package."""


def models() -> int:
    """List the shipped models and the places of their files. Copy one and edit it to make your own."""
    from fluorojax.models.loading import list_models

    shipped = list_models()
    width = max(map(len, shipped), default=0)
    for name, path in shipped.items():
        print(f"{name:<{width}}  {path}")
    return 0
