package objects

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A location is the meaning of a bucket's URL.
type location struct {
	bucket, prefix       string
	region, endpoint     string
	credentials, profile string
	host                 bool // the bucket is part of the host name
	name                 string
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// parse reads the URL of a bucket: s3://BUCKET/PREFIX, with these parameters:
//
//	region=NAME        the region; by default that of the environment
//	endpoint=URL       the storage, if it is not Amazon's
//	path_style=false   the bucket is part of the endpoint's host name
//	credentials=FILE   a file with credentials in the format of the AWS command
//	profile=NAME       the section of that file; default by default
func parse(text string) (*location, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Opaque != "" || u.Fragment != "" {
		// the error of url.Parse contains the URL
		return nil, errors.New("the URL of a bucket must be s3://BUCKET/PREFIX?region=REGION")
	}
	if u.User != nil {
		return nil, errors.New("the URL of a bucket must not contain credentials: use the environment, or credentials=FILE")
	}
	l := &location{bucket: u.Host, prefix: strings.Trim(u.Path, "/")}
	if !bucketName.MatchString(l.bucket) {
		return nil, errors.New("the URL of a bucket must begin with s3://BUCKET, a name of 3 to 63 lowercase letters, digits, hyphens and dots")
	}
	l.name = "s3://" + l.bucket
	if l.prefix != "" {
		l.name += "/" + l.prefix
		l.prefix += "/"
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%s: the parameters are not valid", l.name)
	}
	for name, values := range q {
		to := map[string]*string{"region": &l.region, "endpoint": &l.endpoint, "credentials": &l.credentials, "profile": &l.profile, "path_style": new(string)}[name]
		if to == nil || len(values) > 1 {
			return nil, fmt.Errorf("%s: parameters are region, endpoint, path_style, credentials and profile, each at most once", l.name)
		}
		*to = values[0]
	}
	return l, l.check(q.Get("path_style"))
}

func (l *location) check(pathStyle string) error {
	l.host = l.endpoint == ""
	switch pathStyle {
	case "":
	case "true", "false":
		l.host = pathStyle == "false"
	default:
		return fmt.Errorf("%s: path_style must be true or false", l.name)
	}
	if l.endpoint != "" {
		e, err := url.Parse(l.endpoint)
		if err != nil || e.Scheme != "https" && e.Scheme != "http" || e.Host == "" || e.User != nil || e.RawQuery != "" || e.Fragment != "" {
			return fmt.Errorf("%s: endpoint must be a scheme and a host, such as https://storage.example.com", l.name)
		}
	}
	if l.profile != "" && l.credentials == "" {
		return fmt.Errorf("%s: profile requires credentials=FILE", l.name)
	}
	return nil
}

// Overlap reports whether one of two parts of buckets is within the other.
func Overlap(one, other string) (bool, error) {
	a, err := parse(one)
	if err != nil {
		return false, err
	}
	b, err := parse(other)
	if err != nil {
		return false, err
	}
	// Two endpoints can be names of the same storage.
	return a.bucket == b.bucket && (strings.HasPrefix(a.prefix, b.prefix) || strings.HasPrefix(b.prefix, a.prefix)), nil
}

// Valid returns an error if the text is not the URL of a bucket.
func Valid(text string) error {
	_, err := parse(text)
	return err
}

// Impatient returns the bucket with one attempt for each request, which may
// take that long.
func (b *Bucket) Impatient(patience time.Duration) *Bucket {
	c := *b
	c.attempts, c.patience = 1, patience
	return &c
}

// Open returns the bucket with the URL. It makes no request.
func Open(ctx context.Context, text string) (*Bucket, error) {
	l, err := parse(text)
	if err != nil {
		return nil, err
	}
	// The library's own attempts are off: an attempt that has failed without an
	// answer may still succeed, which the caller must know.
	options := []func(*config.LoadOptions) error{config.WithRetryMaxAttempts(1)}
	if l.region != "" {
		options = append(options, config.WithRegion(l.region))
	}
	if l.credentials != "" {
		profile := l.profile
		if profile == "" {
			profile = "default"
		}
		options = append(options, config.WithSharedCredentialsFiles([]string{l.credentials}), config.WithSharedConfigFiles(nil), config.WithSharedConfigProfile(profile))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("%s: credentials and region: %w", l.name, err)
	}
	if c.Region == "" {
		if l.endpoint == "" {
			return nil, fmt.Errorf("%s: no region specified: add ?region=REGION, or set AWS_REGION", l.name)
		}
		c.Region = "us-east-1" // which others than Amazon ignore
	}
	client := s3.NewFromConfig(c, func(o *s3.Options) {
		o.RetryMaxAttempts = 1
		o.UsePathStyle = !l.host
		if l.endpoint != "" {
			o.BaseEndpoint = &l.endpoint
		}
		// Checksums are given and compared by this package. Those of the
		// library are in a form that some storages do not have.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return &Bucket{client: client, bucket: l.bucket, prefix: l.prefix, name: l.name, credentials: c.Credentials,
		attempts: 4, patience: 20 * time.Second, pause: 200 * time.Millisecond}, nil
}
