# Builds the node from source.
FROM rust:1-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package sinew

FROM debian:bookworm-slim
# Nobody's: it owns the data and nothing else.
RUN mkdir --mode=700 /data && chown 65532:65532 /data
COPY --from=build /src/target/release/sinew /usr/local/bin/sinew
USER 65532:65532
ENV SINEW_DATA_DIR=/data
VOLUME /data
# Clients (4400) and other nodes (4500) over UDP and TCP; the admin server.
EXPOSE 4400/udp 4400/tcp 4500/udp 4500/tcp 4600/tcp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sinew"]
CMD ["up"]
