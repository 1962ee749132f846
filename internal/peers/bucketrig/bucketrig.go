// Package bucketrig runs an object storage on loopback: versitygw, which serves
// a folder with the API of Amazon S3. It acknowledges objects before they are
// on the disk.
package bucketrig

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"muniment.dev/muniment/internal/peers"
)

// Bucket is the name of the bucket that the storage has.
const Bucket = "evidence"

// Owner and Secret are the keys of the bucket's owner.
const (
	Owner  = "owner"
	Secret = "a-secret-of-the-tests"
)

// A Rig is a running storage.
type Rig struct {
	Address     string // HOST:PORT
	Folder      string // with the objects of the bucket as files
	Credentials string // file with the owner's credentials

	dir     string
	process *peers.Process
}

// Start starts a storage with an empty bucket. The caller must stop it.
func Start(ctx context.Context) (_ *Rig, err error) {
	dir, err := os.MkdirTemp("", "bucket")
	if err != nil {
		return nil, err
	}
	r := &Rig{dir: dir, Folder: filepath.Join(dir, "buckets", Bucket), Credentials: filepath.Join(dir, "credentials")}
	defer func() {
		if err != nil {
			r.Stop()
		}
	}()
	versions := filepath.Join(dir, "versions")
	if err := errors.Join(os.MkdirAll(r.Folder, 0o700), os.Mkdir(versions, 0o700)); err != nil {
		return nil, err
	}
	text := "[default]\naws_access_key_id = " + Owner + "\naws_secret_access_key = " + Secret + "\n"
	if err := os.WriteFile(r.Credentials, []byte(text), 0o600); err != nil {
		return nil, err
	}
	ports, err := peers.FreePorts(1)
	if err != nil {
		return nil, err
	}
	r.Address = "127.0.0.1:" + ports[0]
	r.process, err = peers.Program{
		Name: "versitygw", Dir: dir, Probe: "http://" + r.Address + "/", AnyStatus: true,
		Args: []string{"--port", r.Address, "--quiet", "--keep-alive", "posix", "--versioning-dir", versions, filepath.Dir(r.Folder)},
		Env:  []string{"ROOT_ACCESS_KEY=" + Owner, "ROOT_SECRET_KEY=" + Secret},
	}.Start(ctx)
	return r, err
}

// T is the part of testing.TB that ForTest uses.
type T interface {
	Helper()
	Context() context.Context
	Fatal(...any)
	Cleanup(func())
}

// ForTest starts a storage for the duration of a test.
func ForTest(t T) *Rig {
	t.Helper()
	r, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// Stop ends the storage, and deletes its data.
func (r *Rig) Stop() {
	if r.process != nil {
		r.process.Stop()
	}
	os.RemoveAll(r.dir)
}

// URL returns the URL of a part of the bucket.
func (r *Rig) URL(prefix string) string { return r.URLAt(r.Address, prefix) }

// URLAt is URL for a storage that is reached at another address.
func (r *Rig) URLAt(address, prefix string) string {
	q := url.Values{"endpoint": {"http://" + address}, "credentials": {r.Credentials}}
	u := url.URL{Scheme: "s3", Host: Bucket, Path: "/" + prefix, RawQuery: q.Encode()}
	return u.String()
}

// Files returns the paths of the objects whose names begin with a folder.
func (r *Rig) Files(folder string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(filepath.Join(r.Folder, folder), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return files, err
}

// Publish makes the objects public whose names begin with a folder.
func (r *Rig) Publish(ctx context.Context, folder string) error {
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + r.Address), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(Owner, Secret, ""),
	})
	policy := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::` + Bucket + `/` + folder + `/*"}]}`
	_, err := client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(Bucket), Policy: &policy})
	return err
}

// Public returns the URL, with a slash at its end, at which everybody reads the
// objects of a prefix that was published.
func (r *Rig) Public(prefix string) string {
	return "http://" + r.Address + "/" + Bucket + "/" + prefix + "/"
}
