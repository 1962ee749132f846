// Package objects keeps bytes in a bucket of an object storage with the API of
// Amazon S3.
//
// docs/decisions/15-object-storage.md has the reasons and the rules.
package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// A Bucket is the part of a bucket whose names begin with a prefix. It may be
// used from many goroutines.
type Bucket struct {
	client *s3.Client
	bucket string
	prefix string // empty, or ends with a slash
	name   string // for messages
	// credentials is set to obtain credentials without a request.
	credentials aws.CredentialsProvider

	attempts int           // of a request that fails for a passing reason
	patience time.Duration // with one attempt
	pause    time.Duration // after the first attempt; doubled after each other
}

// String returns the name of the bucket for messages. It contains no secret.
func (b *Bucket) String() string { return b.name }

// A Sum is the SHA-256 of an object.
type Sum [sha256.Size]byte

func (s Sum) encoded() string { return base64.StdEncoding.EncodeToString(s[:]) }

// Check returns an error if the storage refuses to show the bucket, and
// ErrUnavailable if it does not answer.
func (b *Bucket) Check(ctx context.Context) error {
	err := b.try(ctx, "", func(ctx context.Context) error {
		if _, err := b.credentials.Retrieve(ctx); err != nil {
			return fmt.Errorf("%w: %w", errNoCredentials, err)
		}
		_, err := b.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.bucket})
		return err
	})
	if errors.Is(err, ErrMissing) { // an answer to HEAD has no text
		return fmt.Errorf("%s: %w", b.name, errNoBucket)
	}
	return err
}

// Put writes an object. Writing the same bytes again is no error. The caller
// must Confirm the object before it relies on it.
func (b *Bucket) Put(ctx context.Context, name string, content []byte) (Sum, error) {
	return b.put(ctx, name, content, Form{Type: "application/octet-stream"}, func(*s3.PutObjectInput) {})
}

// A Form is how an object is served.
type Form struct {
	Type  string // of the content
	Cache string // how long caches may keep it
}

// Create writes an object that the bucket does not have. Errors: ErrExists,
// also if an earlier attempt has written it and its answer was lost.
func (b *Bucket) Create(ctx context.Context, name string, content []byte, f Form) (Sum, error) {
	return b.put(ctx, name, content, f, func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") })
}

// Replace writes an object in place of the one with the tag, which Read has
// returned. Errors: as Create, if it is another one by now.
func (b *Bucket) Replace(ctx context.Context, name, tag string, content []byte, f Form) (Sum, error) {
	return b.put(ctx, name, content, f, func(in *s3.PutObjectInput) { in.IfMatch = &tag })
}

func (b *Bucket) put(ctx context.Context, name string, content []byte, f Form, condition func(*s3.PutObjectInput)) (Sum, error) {
	sum := Sum(sha256.Sum256(content))
	return sum, b.try(ctx, name, func(ctx context.Context) error {
		in := &s3.PutObjectInput{
			Bucket: &b.bucket, Key: aws.String(b.prefix + name), Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(len(content))),
			ChecksumSHA256: aws.String(sum.encoded()), ContentType: &f.Type,
		}
		if f.Cache != "" {
			in.CacheControl = &f.Cache
		}
		condition(in)
		_, err := b.client.PutObject(ctx, in)
		return err
	})
}

// Confirm returns an error unless the bucket has the object with that size and
// sum. Errors: ErrMissing, ErrWrong.
func (b *Bucket) Confirm(ctx context.Context, name string, size int64, sum Sum) error {
	out, err := b.head(ctx, name)
	if err != nil {
		return err
	}
	if err := b.checkSize(name, out.ContentLength, size); err != nil {
		return err
	}
	got := aws.ToString(out.ChecksumSHA256)
	if got == "" { // a storage that keeps no checksums
		content, err := b.Get(ctx, name, size)
		if err != nil {
			return err
		}
		got = Sum(sha256.Sum256(content)).encoded()
	}
	if got != sum.encoded() {
		return fmt.Errorf("%s has other bytes in %s than were written: %w", b.name, name, ErrWrong)
	}
	return nil
}

// CheckSize returns an error unless the bucket has the object in that size.
// Errors: ErrMissing, ErrWrong.
func (b *Bucket) CheckSize(ctx context.Context, name string, size int64) error {
	out, err := b.head(ctx, name)
	if err != nil {
		return err
	}
	return b.checkSize(name, out.ContentLength, size)
}

func (b *Bucket) head(ctx context.Context, name string) (out *s3.HeadObjectOutput, err error) {
	err = b.try(ctx, name, func(ctx context.Context) error {
		out, err = b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + name), ChecksumMode: types.ChecksumModeEnabled})
		return err
	})
	return out, err
}

func (b *Bucket) checkSize(name string, got *int64, want int64) error {
	if got == nil || *got != want {
		return fmt.Errorf("%s has %d bytes in %s, want %d: %w", b.name, aws.ToInt64(got), name, want, ErrWrong)
	}
	return nil
}

// Get returns the bytes of an object of that size. Errors: ErrMissing,
// ErrWrong.
func (b *Bucket) Get(ctx context.Context, name string, size int64) ([]byte, error) {
	content, _, err := b.get(ctx, name, func(got *int64) error { return b.checkSize(name, got, size) })
	return content, err
}

// Read returns an object of up to limit bytes, and the tag of this content.
// Errors: ErrMissing, ErrWrong.
func (b *Bucket) Read(ctx context.Context, name string, limit int64) (content []byte, tag string, err error) {
	return b.get(ctx, name, func(got *int64) error {
		if got == nil || *got > limit {
			return fmt.Errorf("%s has %d bytes in %s, and at most %d are expected: %w", b.name, aws.ToInt64(got), name, limit, ErrWrong)
		}
		return nil
	})
}

// get returns an object and its tag. It reads no bytes unless check accepts
// their number, which is nil if the storage does not state it.
func (b *Bucket) get(ctx context.Context, name string, check func(size *int64) error) (content []byte, tag string, err error) {
	err = b.try(ctx, name, func(ctx context.Context) error {
		out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + name)})
		if err != nil {
			return err
		}
		defer out.Body.Close()
		if err := check(out.ContentLength); err != nil {
			return err
		}
		content, tag = make([]byte, *out.ContentLength), aws.ToString(out.ETag)
		_, err = io.ReadFull(out.Body, content)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return content, tag, nil
}

// Delete deletes objects with all of their versions. An object that is not
// there is no error.
func (b *Bucket) Delete(ctx context.Context, names ...string) error {
	versioned, err := b.versioned(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if versioned {
			err = b.deleteVersions(ctx, name)
		} else {
			err = b.deleteOne(ctx, name, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// versioned reports whether the bucket may have several versions of an object.
func (b *Bucket) versioned(ctx context.Context) (bool, error) {
	var out *s3.GetBucketVersioningOutput
	err := b.try(ctx, "", func(ctx context.Context) (err error) {
		out, err = b.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.bucket})
		return err
	})
	if errors.Is(err, errNotImplemented) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return out.Status != "", nil
}

func (b *Bucket) deleteOne(ctx context.Context, name string, version *string) error {
	err := b.try(ctx, name, func(ctx context.Context) error {
		_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + name), VersionId: version})
		return err
	})
	if errors.Is(err, ErrMissing) {
		return nil
	}
	return err
}

// deleteVersions deletes all versions of an object, and the markers of earlier
// deletions.
func (b *Bucket) deleteVersions(ctx context.Context, name string) error {
	key := b.prefix + name
	in := &s3.ListObjectVersionsInput{Bucket: &b.bucket, Prefix: &key}
	for {
		var out *s3.ListObjectVersionsOutput
		err := b.try(ctx, name, func(ctx context.Context) (err error) {
			out, err = b.client.ListObjectVersions(ctx, in)
			return err
		})
		if err != nil {
			return err
		}
		var versions []*string
		for _, v := range out.Versions {
			if aws.ToString(v.Key) == key {
				versions = append(versions, v.VersionId)
			}
		}
		for _, m := range out.DeleteMarkers {
			if aws.ToString(m.Key) == key {
				versions = append(versions, m.VersionId)
			}
		}
		for _, v := range versions {
			if err := b.deleteOne(ctx, name, v); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
}
