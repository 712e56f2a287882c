"""What runs on a board that uses a model: it verifies the bundle it came in, then infers. The standard library, numpy
and one engine; no LoadGen, nothing that measures."""
