module github.com/sluice-delivery/sluice/test/tools/traefik

go 1.26.0

require github.com/traefik/traefik/v3 v3.7.13
