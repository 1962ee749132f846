package api

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/api/wire"
	"muniment.dev/muniment/internal/plain"
)

// A strictProto codec refuses unknown fields, and messages that would grow in
// decoding, before it decodes them. It decodes large ones in turns of its
// owner.
type strictProto struct{ owner string }

// Name implements connect.Codec.
func (strictProto) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (strictProto) Marshal(m any) ([]byte, error) {
	pm, err := message(m)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(pm)
}

// MarshalAppend appends to a buffer that Connect reuses.
func (strictProto) MarshalAppend(dst []byte, m any) ([]byte, error) {
	pm, err := message(m)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, pm)
}

// Unmarshal implements connect.Codec.
func (c strictProto) Unmarshal(data []byte, m any) error {
	pm, err := message(m)
	if err != nil {
		return err
	}
	turn, err := limit.DecodeTurn(c.owner, len(data))
	if err != nil {
		return err
	}
	defer turn.End()
	if err := wire.Check(data, pm.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	return rpcerr.ShortText(plain.DecodeError(proto.Unmarshal(data, pm)))
}

func message(m any) (proto.Message, error) {
	pm, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", m)
	}
	return pm, nil
}

// A strictJSON codec refuses unknown members and enum values before it decodes.
// Connect's own codec accepts them, so a misspelled filter would silently
// return everything.
type strictJSON struct{ name, owner string }

// Name implements connect.Codec.
func (c strictJSON) Name() string { return c.name }

// Marshal implements connect.Codec.
func (c strictJSON) Marshal(m any) ([]byte, error) {
	pm, err := message(m)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(pm)
}

// Unmarshal implements connect.Codec.
func (c strictJSON) Unmarshal(data []byte, m any) error {
	pm, err := message(m)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		data = []byte("{}") // a request without parameters may be empty
	}
	turn, err := limit.DecodeTurn(c.owner, len(data))
	if err != nil {
		return err
	}
	defer turn.End()
	if err := wire.CheckJSON(data, pm.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	return rpcerr.ShortText(plain.DecodeError(protojson.Unmarshal(data, pm)))
}
