"""Images: a residual network, random views, and clusters learnt by contrast."""
