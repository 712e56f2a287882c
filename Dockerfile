# A container that runs the quick study:
#     docker build -t edgeproof . && docker run --rm edgeproof
# Build it in a clone: studies run in git worktrees, so the image holds the repository.
FROM python:3.13-slim-trixie
RUN apt-get update \
    && apt-get install --no-install-recommends --yes git make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 edgeproof
USER edgeproof
WORKDIR /home/edgeproof/project
COPY --chown=edgeproof:edgeproof . .
# The cache is not part of the image. A build that was interrupted continues with it.
RUN --mount=type=cache,target=/tmp/pip,uid=1000,gid=1000 PIP_CACHE_DIR=/tmp/pip make setup
CMD ["make", "repro", "STUDY=digits"]
