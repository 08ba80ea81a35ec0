#!/usr/bin/env bash
# Add the output of `READERS=4 trunkline provision --files --data DIR` (READERS as in addresses.yaml) and a
# workspace to the cluster:
# deploy/k8s/secrets.sh DIR WORKSPACE.yaml
set -euo pipefail

data=$1 workspace=$2
creds=$data/creds
kubectl() { command kubectl --namespace trunkline "$@"; }
secret() { kubectl create secret generic "$@" --dry-run=client -o yaml | kubectl apply -f -; }
config() { kubectl create configmap "$@" --dry-run=client -o yaml | kubectl apply -f -; }

for name in ingest routing tickets sla notify; do
    secret "$name" --from-file="$creds/$name.nk" --from-file="$creds/$name-relay.nk" \
        --from-file="$creds/$name.pg"
done
secret provision --from-file="$creds/admin.nk" --from-file="$creds/postgres.pg" \
    --from-file="$creds/ingest.pg" --from-file="$creds/routing.pg" --from-file="$creds/tickets.pg" \
    --from-file="$creds/sla.pg" --from-file="$creds/notify.pg"
secret workspace-secrets --from-file="$data/secrets.env"
config keys --from-file="$data/jwks.json"
config workspace --from-file=workspace.yaml="$workspace"
