# Builds the node from source. The result holds the binary and nothing else.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN apt-get update && apt-get install -y --no-install-recommends build-essential \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package sinew --target x86_64-unknown-linux-gnu \
    && mkdir /data && chmod 700 /data

FROM scratch
COPY --from=build /src/target/x86_64-unknown-linux-gnu/release/sinew /sinew
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV SINEW_DATA_DIR=/data
VOLUME /data
ENTRYPOINT ["/sinew"]
CMD ["up"]
