// The generator of docs/openapi.yaml, pinned; nothing of TaskHub is written in Go.
module taskhub/deploy/gateway/openapi

go 1.25.0

require github.com/sudorandom/protoc-gen-connect-openapi v0.25.2
