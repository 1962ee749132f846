package entry

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// ParseStreamKey reads the file of a stream key: 64 lowercase hexadecimal
// digits and optionally one line feed. The error never contains text of the
// file.
func ParseStreamKey(file []byte) (*StreamKey, error) {
	if n := len(file); n == 2*HashSize+1 && file[n-1] == '\n' {
		file = file[:n-1]
	}
	var k StreamKey
	_, err := hex.Decode(k[:], file[:min(len(file), 2*HashSize)])
	if err != nil || len(file) != 2*HashSize || lower(string(file)) != string(file) {
		return nil, errors.New("not a stream key: must be 64 lowercase hexadecimal digits and at most one line feed")
	}
	return &k, nil
}

// File returns the content of the key's file.
func (k *StreamKey) File() []byte { return append(hex.AppendEncode(nil, k[:]), '\n') }

// ParseStreamID reads the ID of a stream: 64 hexadecimal digits of either case.
func ParseStreamID(s string) (Hash, error) {
	h, err := ParseHash(s)
	if err != nil {
		return h, fmt.Errorf("stream: %w", err)
	}
	return h, nil
}
