"""New images from layers and a configuration. The room refuses to know how the layers were made."""
