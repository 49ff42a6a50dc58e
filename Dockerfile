# One image for every process of the server deployment; docker-compose.yml starts them.
#
# TORCH_INDEX_URL chooses the build of torch. Empty takes the package index's own, which on Linux is CUDA's;
# PyTorch's CPU index (its installation page names it) gives an image that is some gigabytes smaller.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ARG TORCH_INDEX_URL=""
ENV PATH=/opt/royalty/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/royalty
WORKDIR /app
# Dependencies are a layer of their own: it is rebuilt when they change, not when the code does.
COPY pyproject.toml constraints.txt ./
RUN pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} --constraint constraints.txt . \
    && pip uninstall --yes royalty
COPY . .
# Editable, so that the migrations in /app/alembic lie beside the packages that find them.
RUN pip install --no-deps --editable . && python -m compileall -q /app

FROM python:${PYTHON_VERSION}-slim-bookworm
RUN useradd --system --uid 10001 --create-home royalty \
    && for part in "" /images /keys /huggingface; do install -d -o royalty -g royalty -m 0750 /var/lib/royalty$part; done
COPY --from=build /opt/royalty /opt/royalty
COPY --from=build /app /app
ENV PATH=/opt/royalty/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ROYALTY_HOME=/var/lib/royalty \
    HF_HOME=/var/lib/royalty/huggingface
WORKDIR /app
USER royalty
VOLUME /var/lib/royalty
EXPOSE 8000
ENTRYPOINT ["royalty"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
