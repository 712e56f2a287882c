"""A Flower app that runs the federation of a study's model, with the code of edgeproof.federated at both ends."""
