package helm

import (
	"errors"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
)

// pgpReason translates an error of the OpenPGP library, whose text can quote
// the input, into a readable reason.
func pgpReason(err error) error {
	var (
		wrong       pgperrors.SignatureError
		unsupported pgperrors.UnsupportedError
		weak        pgperrors.WeakAlgorithmError
	)
	switch {
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return errors.New("the key has expired")
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return errors.New("the key was revoked")
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return errors.New("the signature has expired")
	case errors.Is(err, pgperrors.ErrSignatureOlderThanKey):
		return errors.New("the signature is older than the key")
	case errors.As(err, &wrong):
		return errors.New("the key did not sign the text, or the text was changed")
	case errors.As(err, &unsupported):
		return errors.New("it uses an OpenPGP feature that is not supported")
	case errors.As(err, &weak):
		return errors.New("it uses an algorithm that is not secure")
	}
	return errors.New("it is damaged or not in OpenPGP format")
}
