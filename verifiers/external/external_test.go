package external

import (
	"fmt"
	"strings"
	"testing"
)

func TestReference(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	good := Reference{Digest: map[string]string{"sha256": sum}, Size: 1 << 40, Location: "s3://scans/<a>&b.json", MediaType: "application/json"}
	x, err := Parse(good.Document())
	if err != nil {
		t.Fatal(err)
	}
	if x.Size != good.Size || x.Location != good.Location || x.MediaType != good.MediaType || x.Digest["sha256"] != sum {
		t.Errorf("%+v", x)
	}
	digest := fmt.Sprintf(`"digest":{"sha256":%q}`, sum)
	for name, test := range map[string]struct{ doc, wantErr string }{
		"nothing":             {`{}`, "digest"},
		"no size":             {`{` + digest + `,"location":"s3://x"}`, "size"},
		"no location":         {`{` + digest + `,"size":1}`, "location"},
		"an empty location":   {`{` + digest + `,"size":1,"location":""}`, "location"},
		"a negative size":     {`{` + digest + `,"size":-1,"location":"s3://x"}`, "size"},
		"a size as a string":  {`{` + digest + `,"size":"1","location":"s3://x"}`, "size"},
		"another member":      {`{` + digest + `,"size":1,"location":"s3://x","more":1}`, "more"},
		"a member twice":      {`{` + digest + `,"size":1,"size":1,"location":"s3://x"}`, "size"},
		"another case":        {`{` + digest + `,"Size":1,"location":"s3://x"}`, "ize"},
		"a short digest":      {`{"digest":{"sha256":"beef"},"size":1,"location":"s3://x"}`, "digest"},
		"upper case":          {`{"digest":{"sha256":"` + strings.ToUpper(sum) + `"},"size":1,"location":"s3://x"}`, "digest"},
		"another algorithm":   {`{"digest":{"sha1":"` + sum[:40] + `"},"size":1,"location":"s3://x"}`, "digest"},
		"two algorithms":      {`{"digest":{"sha256":"` + sum + `","sha1":"` + sum[:40] + `"},"size":1,"location":"s3://x"}`, "digest"},
		"a relative location": {`{` + digest + `,"size":1,"location":"scans/x"}`, "location"},
		"a password":          {`{` + digest + `,"size":1,"location":"https://me:pw@example.com/x"}`, "location"},
		"a long location":     {`{` + digest + `,"size":1,"location":"s3://` + strings.Repeat("x", 2048) + `"}`, "location"},
		"no media type":       {`{` + digest + `,"size":1,"location":"s3://x","mediaType":"json"}`, "mediaType"},
		"more behind it":      {`{` + digest + `,"size":1,"location":"s3://x"}{}`, ""},
		"a large one":         {`{` + digest + `,"size":1,"location":"s3://x"}` + strings.Repeat(" ", MaxSize), "reference"},
	} {
		_, err := Parse([]byte(test.doc))
		if err == nil || !strings.Contains(err.Error(), test.wantErr) {
			t.Errorf("%s: %v, want an error about %q", name, err, test.wantErr)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: the error repeats a secret: %v", name, err)
		}
	}
}
