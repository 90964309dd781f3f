# Patroni beside PostgreSQL in one image. Build arguments name the bases, so that any mirror or home-made image will do.
#   docker build -t patroni .
#   docker run patroni            (configuration by PATRONI_* variables or a mounted /etc/patroni/patroni.yml)
ARG DEBIAN=debian:bookworm-slim
ARG RUST=rust:1-slim-bookworm

FROM ${RUST} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev pkg-config protobuf-compiler libprotobuf-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY src src
RUN cargo build --release --bins && strip target/release/patroni target/release/patronictl

FROM ${DEBIAN}
ARG PG_MAJOR=15
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-common ca-certificates \
    && sed -i 's/#create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
    && apt-get install -y --no-install-recommends postgresql-${PG_MAJOR} \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o postgres -g postgres -m 700 /var/lib/postgresql/patroni \
    && install -d -o postgres -g postgres -m 755 /etc/patroni
COPY --from=build /src/target/release/patroni /src/target/release/patronictl /usr/local/bin/
ENV PATRONI_POSTGRESQL_BIN_DIR=/usr/lib/postgresql/${PG_MAJOR}/bin \
    PATRONI_POSTGRESQL_DATA_DIR=/var/lib/postgresql/patroni/data \
    PATRONI_POSTGRESQL_PGPASS=/var/lib/postgresql/.pgpass \
    PATRONI_POSTGRESQL_LISTEN=0.0.0.0:5432 \
    PATRONI_RESTAPI_LISTEN=0.0.0.0:8008
USER postgres
WORKDIR /var/lib/postgresql
EXPOSE 5432 8008
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
    CMD ["/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8008 && printf 'GET /liveness HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ code _ <&3 && [ \"$code\" = 200 ]"]
# As PID 1 the program stays behind as a small init that reaps orphans and forwards signals.
ENTRYPOINT ["patroni"]
CMD ["/etc/patroni/patroni.yml"]
