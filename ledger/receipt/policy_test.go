package receipt

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
)

type policyCase struct {
	Name      string   `json:"name"`
	Text      string   `json:"textBase64"`
	Verdict   string   `json:"verdict"`
	Origin    string   `json:"origin,omitempty"`
	Witnessed *bool    `json:"witnessed,omitempty"`
	Keys      []string `json:"keys,omitempty"`
	Secret    string   `json:"secret,omitempty"`
}

// TestPolicyVectors has a case for each rule of docs/spec/receipt.md, section
// 3.
func TestPolicyVectors(t *testing.T) {
	w := newWorld(t)
	witness := func(name string) string {
		_, vkey := edWitness(t, name, "x\n\n")
		return vkey
	}
	pq, pqWitness := newPQKey(t, w.origin, "post-quantum log key"), newPQKey(t, "witness.example", "post-quantum witness key")
	a, b, c := witness("a.example"), witness("b.example"), witness("c.example")
	log, none := "log "+w.vkey+"\n", "quorum none\n"
	three := log + "witness a " + a + "\nwitness b " + b + "\nwitness c " + c + "\n"
	group := func(threshold string) string { return three + "group g " + threshold + " a b c\nquorum g\n" }
	parts := strings.SplitN(w.vkey, "+", 3)
	seed := det[entry.Hash]("log key")
	private := fmt.Sprintf("PRIVATE+KEY+%s+%s+%s", w.origin, parts[1], base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	pem := "-----BEGIN PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString(append([]byte("pkcs8 "), seed[:]...)) + "\n-----END PRIVATE KEY-----\n"
	longName := strings.Repeat("n", 256)

	accept, refuse := "accept", "refuse"
	var cases []policyCase
	for _, x := range []struct{ name, text, verdict, secret string }{
		{"log alone", log + none, accept, ""},
		{"no final newline", log + "quorum none", accept, ""},
		{"spaces and tabs", " \tlog\t " + w.vkey + "  https://log.example/#x \n\t# comment\n\n \t \n quorum\tnone", accept, ""},
		{"blank lines and comments", "\n\n# one\n  # two\n#\n#three log\n" + log + "\n" + none + "\n\n", accept, ""},
		{"comment of any octets", "# \xff\xfe\x80\n" + log + none, accept, ""},
		{"log after its witnesses", "witness a " + a + "\nquorum a\n" + log, accept, ""},
		{"quorum before the log", "quorum none\n" + log, accept, ""},
		{"witness after the quorum", log + none + "witness a " + a + "\n", accept, ""},
		{"witness with URL", log + "witness a " + a + " https://a.example/\nquorum a\n", accept, ""},
		{"a URL of any octets", log + "witness a " + a + " \xff\nquorum a\n", accept, ""},
		{"threshold 1", group("1"), accept, ""},
		{"threshold 2", group("2"), accept, ""},
		{"threshold 3", group("3"), accept, ""},
		{"threshold any", group("any"), accept, ""},
		{"threshold all", group("all"), accept, ""},
		{"nested groups", three + "group g 1 a b\ngroup h all g c\nquorum h\n", accept, ""},
		{"three levels of groups", three + "group g any a\ngroup h any g\ngroup i all h b\nquorum i\n", accept, ""},
		{"a group that the quorum does not use", three + "group g any a b\nquorum c\n", accept, ""},
		{"names that look like keywords", log + "witness log " + a + "\nwitness quorum " + b + "\ngroup group all log quorum\nquorum group\n", accept, ""},
		{"names that look like thresholds", log + "witness any " + a + "\nwitness 2 " + b + "\ngroup all any any 2\nquorum all\n", accept, ""},
		{"names that are not UTF-8", log + "witness \xff " + a + "\nwitness \xfe\x80 " + b + "\ngroup \xc3\x28 all \xff \xfe\x80\nquorum \xc3\x28\n", accept, ""},
		{"names that differ in one octet", log + "witness \xff " + a + "\nwitness \xfe " + b + "\nquorum \xfe\n", accept, ""},
		{"a Kelvin sign is not a K", log + "witness K " + a + "\nwitness \u212a " + b + "\nquorum \u212a\n", accept, ""},
		{"a no-break space in a name", log + "witness a\u00a0b " + a + "\nquorum a\u00a0b\n", accept, ""},
		{"a name that begins with a number sign", log + "witness #a " + a + "\nquorum #a\n", accept, ""},
		{"None is not none", log + "witness None " + a + "\nquorum None\n", accept, ""},
		{"key name in UTF-8", log + "witness a " + witness("w\u00fcrde.example") + "\nquorum a\n", accept, ""},
		{"post-quantum", "log " + pq.vkey + "\nwitness w1 " + pqWitness.vkey + "\nquorum w1\n", accept, ""},
		{"post-quantum log alone", FormatTrustPolicy(pq.vkey), accept, ""},
		{"key name of 255 bytes, post-quantum", FormatTrustPolicy(newPQKey(t, longName[:255], "long").vkey), accept, ""},

		{"empty", "", refuse, ""},
		{"comments only", "# nothing\n", refuse, ""},
		{"no log", none, refuse, ""},
		{"no quorum", log, refuse, ""},
		{"two logs", log + log + none, refuse, ""},
		{"two quorums", log + none + none, refuse, ""},
		{"two quorums that differ", three + "quorum a\nquorum b\n", refuse, ""},
		{"CRLF", strings.ReplaceAll(log+none, "\n", "\r\n"), refuse, ""},
		{"CRLF after a comment", "# x\r\n" + log + none, refuse, ""},
		{"vertical tab", log + "quorum\vnone\n", refuse, ""},
		{"NUL", log + none + "\x00", refuse, ""},
		{"NUL in a comment", "# \x00\n" + log + none, refuse, ""},
		{"DEL", log + "# \x7f\n" + none, refuse, ""},
		{"byte order mark", "\ufeff" + log + none, refuse, ""},
		{"byte order mark before a comment", "\ufeff# x\n" + log + none, refuse, ""},
		{"UTF-16", "l\x00o\x00g\x00", refuse, ""},
		{"no-break space between items", log + "quorum\u00a0none\n", refuse, ""},
		{"unknown keyword", log + "quorums none\n", refuse, ""},
		{"unknown line", log + none + "option x y\n", refuse, ""},
		{"keyword in upper case", "LOG " + w.vkey + "\n" + none, refuse, ""},
		{"comment after a line", log + "quorum none # really\n", refuse, ""},
		{"log without key", "log\n" + none, refuse, ""},
		{"log with too many items", "log " + w.vkey + " u v\n" + none, refuse, ""},
		{"witness without key", log + "witness a\n" + none, refuse, ""},
		{"witness with too many items", log + "witness a " + a + " u v\n" + none, refuse, ""},
		{"group without members", three + "group g any\nquorum g\n", refuse, ""},
		{"quorum without name", log + "quorum\n", refuse, ""},
		{"quorum with two names", three + "quorum a b\n", refuse, ""},

		{"threshold 01", group("01"), refuse, ""},
		{"threshold +1", group("+1"), refuse, ""},
		{"threshold -1", group("-1"), refuse, ""},
		{"threshold 0", group("0"), refuse, ""},
		{"threshold above the members", group("4"), refuse, ""},
		{"threshold 2^32+1", group("4294967297"), refuse, ""},
		{"threshold 2^64+1", group("18446744073709551617"), refuse, ""},
		{"threshold 1.0", group("1.0"), refuse, ""},
		{"threshold 0x1", group("0x1"), refuse, ""},
		{"threshold 1_0", group("1_0"), refuse, ""},
		{"threshold in other digits", group("\u0661"), refuse, ""},
		{"threshold ALL", group("ALL"), refuse, ""},
		{"threshold half", group("half"), refuse, ""},
		{"threshold none", group("none"), refuse, ""},

		{"witness none", log + "witness none " + a + "\n" + none, refuse, ""},
		{"group none", three + "group none any a\n" + none, refuse, ""},
		{"member none", three + "group g any a none\nquorum g\n", refuse, ""},
		{"name defined twice", log + "witness a " + a + "\nwitness a " + b + "\nquorum a\n", refuse, ""},
		{"group with the name of a witness", three + "group a any b\nquorum a\n", refuse, ""},
		{"group with the name of a group", three + "group g any a\ngroup g any b\nquorum g\n", refuse, ""},
		{"member not defined", three + "group g any a d\nquorum g\n", refuse, ""},
		{"forward reference", log + "group g any a\nwitness a " + a + "\nquorum g\n", refuse, ""},
		{"forward reference of the quorum", log + "quorum a\nwitness a " + a + "\n", refuse, ""},
		{"group of itself", three + "group g any a g\nquorum g\n", refuse, ""},
		{"groups of each other", three + "group g any a h\ngroup h any b g\nquorum g\n", refuse, ""},
		{"member twice", three + "group g any a a\nquorum g\n", refuse, ""},
		{"member of two groups", three + "group g any a b\ngroup h any a c\nquorum h\n", refuse, ""},
		{"quorum not defined", three + "quorum d\n", refuse, ""},
		{"quorum of another case", three + "quorum A\n", refuse, ""},

		{"two witnesses with one key", log + "witness a " + a + "\nwitness b " + a + "\nquorum a\n", refuse, ""},
		{"two witnesses with one key under two names", log + "witness a " + a + "\nwitness b " + rename(a, "other.example") + "\nquorum a\n", refuse, ""},
		{"the log as its own witness", log + "witness a " + cosignatureKey(w.vkey, w.origin) + "\nquorum a\n", refuse, ""},
		{"the log as its own witness, post-quantum", "log " + pq.vkey + "\nwitness a " + rename(pq.vkey, "other.example") + "\nquorum a\n", refuse, ""},
		{"log with a witness's key", "log " + a + "\n" + none, refuse, ""},
		{"witness with a log's key", log + "witness a " + rename(w.vkey, "other.example") + "\nquorum a\n", refuse, ""},
		{"both families", "log " + w.vkey + "\nwitness a " + pqWitness.vkey + "\nquorum a\n", refuse, ""},
		{"both families, unused", "log " + w.vkey + "\nwitness a " + pqWitness.vkey + "\n" + none, refuse, ""},
		{"both families, the log post-quantum", "log " + pq.vkey + "\nwitness a " + a + "\nquorum a\n", refuse, ""},
		{"hash of another key", "log " + parts[0] + "+" + "00000000" + "+" + parts[2] + "\n" + none, refuse, ""},
		{"hash of another name", "log other.example+" + parts[1] + "+" + parts[2] + "\n" + none, refuse, ""},
		{"hash in upper case", "log " + parts[0] + "+" + strings.ToUpper(parts[1]) + "+" + parts[2] + "\n" + none, refuse, ""},
		{"hash of 9 digits", "log " + parts[0] + "+0" + parts[1] + "+" + parts[2] + "\n" + none, refuse, ""},
		{"hash of 7 digits", "log " + parts[0] + "+" + parts[1][1:] + "+" + parts[2] + "\n" + none, refuse, ""},
		{"key without hash", "log " + parts[0] + "+" + parts[2] + "\n" + none, refuse, ""},
		{"key without name", "log +" + parts[1] + "+" + parts[2] + "\n" + none, refuse, ""},
		{"key in base64 without padding", "log " + strings.TrimRight(pq.vkey, "=") + "\n" + none, refuse, ""},
		{"key cut short", "log " + shorten(w.vkey) + "\n" + none, refuse, ""},
		{"key of an unknown algorithm", "log " + withAlgorithm(w.vkey, 2) + "\n" + none, refuse, ""},
		{"key of no algorithm", "log x+00000000+\n" + none, refuse, ""},
		{"post-quantum key cut short", "log " + shorten(pq.vkey) + "\n" + none, refuse, ""},
		{"key name that is not UTF-8", "log " + rename(w.vkey, "\xff.example") + "\n" + none, refuse, ""},
		{"key name with a no-break space", "log " + rename(w.vkey, "a\u00a0b") + "\n" + none, refuse, ""},
		{"key name with an ideographic space", "log " + rename(w.vkey, "a\u3000b") + "\n" + none, refuse, ""},
		{"key name of 256 bytes, post-quantum", FormatTrustPolicy(newPQKey(t, longName, "long").vkey), refuse, ""},

		{"private key of the log", private + "\n", refuse, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))},
		{"private key in a log line", "log " + private + "\n" + none, refuse, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))},
		{"private key in a witness line", log + "witness " + private + " " + a + " x y\n" + none, refuse, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))},
		{"private key in a group line", three + "group g " + private + " a\n" + none, refuse, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))},
		{"private key in a quorum line", three + "quorum " + private + "\n", refuse, base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))},
		{"private key in PEM", pem, refuse, strings.Split(pem, "\n")[1]},
		{"token", "muniment_acme_c2VjcmV0\n", refuse, "c2VjcmV0"},
		{"stream key", hex.EncodeToString(seed[:]) + "\n", refuse, hex.EncodeToString(seed[:])},
	} {
		c := policyCase{Name: x.name, Text: base64.StdEncoding.EncodeToString([]byte(x.text)), Verdict: x.verdict, Secret: x.secret}
		p, err := ParseTrustPolicy("test", []byte(x.text))
		if (err == nil) != (x.verdict == accept) {
			t.Errorf("%s: should %s, got %v", x.name, x.verdict, err)
			continue
		}
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Code != PolicyMalformed || e.Step != 0 || errors.Is(err, ErrNotVerified) {
				t.Errorf("%s: the error is %#v", x.name, err)
			}
			checkNoEcho(t, x.name, x.text, x.secret, err)
		} else {
			c.Origin, c.Witnessed, c.Keys = p.Origin(), new(p.RequiresWitness()), p.Keys()
			if !p.PostQuantum() && !strings.Contains(x.text, "#") && !strings.Contains(x.name, "looks like") {
				// what we accept, torchwood does
				if _, err := torchwood.ParsePolicy([]byte(strings.ReplaceAll(x.text, "\u00a0", "_"))); err != nil && !strings.Contains(x.name, "thresholds") {
					t.Errorf("%s: torchwood refuses it: %v", x.name, err)
				}
			}
		}
		cases = append(cases, c)
	}
	if _, err := ParseTrustPolicy("large", append([]byte(log+none), bytes.Repeat([]byte("#"), MaxTrustPolicySize)...)); err == nil {
		t.Error("a policy above the limit is accepted")
	}
	golden(t, "policies.json", cases)
}

// checkNoEcho checks that an error contains no item of a policy that could be a
// secret.
func checkNoEcho(t *testing.T, name, text, secret string, err error) {
	t.Helper()
	if secret != "" && strings.Contains(err.Error(), secret) {
		t.Errorf("%s: the error has the secret: %v", name, err)
	}
	for _, item := range strings.Fields(text) {
		if len(item) > 10 && !strings.HasPrefix(item, "http") && strings.Contains(err.Error(), item) {
			t.Errorf("%s: the error repeats %q: %v", name, item, err)
		}
	}
}

// rekey returns a key with other bytes and name, and the hash that they give.
func rekey(vkey, name string, change func([]byte) []byte) string {
	old := strings.SplitN(vkey, "+", 3)
	data, err := base64.StdEncoding.DecodeString(old[2])
	if err != nil {
		panic(err)
	}
	data = change(data)
	return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, data), base64.StdEncoding.EncodeToString(data))
}

func rename(vkey, name string) string {
	return rekey(vkey, name, func(b []byte) []byte { return b })
}

func cosignatureKey(vkey, name string) string {
	return rekey(vkey, name, func(b []byte) []byte { return append([]byte{algCosignatureV1}, b[1:]...) })
}

func withAlgorithm(vkey string, a byte) string {
	return rekey(vkey, strings.SplitN(vkey, "+", 2)[0], func(b []byte) []byte { return append([]byte{a}, b[1:]...) })
}

func shorten(vkey string) string {
	return rekey(vkey, strings.SplitN(vkey, "+", 2)[0], func(b []byte) []byte { return b[:len(b)-2] })
}

func TestStreamKeyVectors(t *testing.T) {
	type streamKeyCase struct {
		Name     string `json:"name"`
		Text     string `json:"textBase64"`
		Verdict  string `json:"verdict"`
		StreamID string `json:"streamId,omitempty"`
	}
	key := det[entry.StreamKey]("stream acme")
	good := hex.EncodeToString(key[:])
	var cases []streamKeyCase
	for _, x := range []struct{ name, text, verdict string }{
		{"with a line feed", good + "\n", "accept"},
		{"without a line feed", good, "accept"},
		{"all zero", strings.Repeat("0", 64) + "\n", "accept"},
		{"empty", "", "refuse"},
		{"a line feed alone", "\n", "refuse"},
		{"two line feeds", good + "\n\n", "refuse"},
		{"CRLF", good + "\r\n", "refuse"},
		{"a space behind", good + " \n", "refuse"},
		{"a space before", " " + good + "\n", "refuse"},
		{"a line feed before", "\n" + good, "refuse"},
		{"upper case", strings.ToUpper(good) + "\n", "refuse"},
		{"one digit in upper case", strings.Replace(good, "a", "A", 1) + "\n", "refuse"},
		{"63 digits", good[:63] + "\n", "refuse"},
		{"65 digits", good + "0\n", "refuse"},
		{"66 digits", good + "00\n", "refuse"},
		{"not hexadecimal", good[:63] + "g\n", "refuse"},
		{"0x before", "0x" + good[2:] + "\n", "refuse"},
		{"two lines", good + "\n" + good + "\n", "refuse"},
		{"byte order mark", "\ufeff" + good + "\n", "refuse"},
		{"32 bytes", string(key[:]), "refuse"},
		{"base64", base64.StdEncoding.EncodeToString(key[:]) + "\n", "refuse"},
		{"NUL behind", good + "\x00", "refuse"},
	} {
		c := streamKeyCase{Name: x.name, Text: base64.StdEncoding.EncodeToString([]byte(x.text)), Verdict: x.verdict}
		k, err := ParseStreamKey([]byte(x.text))
		if (err == nil) != (x.verdict == "accept") {
			t.Errorf("%s: should %s, got %v", x.name, x.verdict, err)
			continue
		}
		if err == nil {
			c.StreamID = k.StreamID().String()
		} else if e, ok := errors.AsType[*Error](err); !ok || e.Code != StreamKeyMalformed || strings.Contains(err.Error(), good[1:20]) {
			t.Errorf("%s: the error is %#v", x.name, err)
		}
		cases = append(cases, c)
	}
	if got, err := ParseStreamKey(key.File()); err != nil || *got != key {
		t.Errorf("the file that is written: %v", err)
	}
	golden(t, "stream-keys.json", cases)
}

func TestDigestVectors(t *testing.T) {
	type digestCase struct {
		Name     string            `json:"name"`
		Expected string            `json:"expected"`
		Digest   map[string]string `json:"digest"`
		Verdict  string            `json:"verdict"`
	}
	sum, commit := det[entry.Hash]("digest").String(), det[entry.Hash]("commit").String()[:40]
	upper := strings.ToUpper(sum)
	var cases []digestCase
	for _, c := range []digestCase{
		{"equal", "sha256:" + sum, map[string]string{"sha256": sum}, "equal"},
		{"expected in upper case", "sha256:" + upper, map[string]string{"sha256": sum}, "equal"},
		{"recorded in upper case", "sha256:" + sum, map[string]string{"sha256": upper}, "equal"},
		{"algorithm in upper case", "SHA256:" + sum, map[string]string{"sha256": sum}, "equal"},
		{"recorded algorithm in upper case", "sha256:" + sum, map[string]string{"SHA256": sum}, "equal"},
		{"one of two", "sha256:" + sum, map[string]string{"sha512": strings.Repeat("0", 128), "sha256": sum}, "equal"},
		{"another value", "sha256:" + sum, map[string]string{"sha256": det[entry.Hash]("other").String()}, "different"},
		{"another algorithm", "sha256:" + sum, map[string]string{"sha512_256": sum}, "different"},
		{"the algorithm with a dash is another", "sha256:" + sum, map[string]string{"sha-256": sum}, "different"},
		{"recorded value too short", "sha256:" + sum, map[string]string{"sha256": sum[:62]}, "different"},
		{"recorded value with a space", "sha256:" + sum, map[string]string{"sha256": sum + " "}, "different"},
		{"commit", "gitCommit:" + commit, map[string]string{"gitCommit": commit}, "equal"},
		{"commit, algorithm in lower case", "gitcommit:" + commit, map[string]string{"gitCommit": commit}, "equal"},
		{"commit of 64 digits", "gitCommit:" + sum, map[string]string{"gitCommit": sum}, "equal"},
		{"another algorithm, hexadecimal", "blake2b:ABCD", map[string]string{"blake2b": "abcd"}, "equal"},
		{"another algorithm, not hexadecimal", "h1:AbCz=", map[string]string{"h1": "AbCz="}, "equal"},
		{"another algorithm, not hexadecimal, other case", "h1:AbCz=", map[string]string{"h1": "abcz="}, "different"},
		{"a colon in the value", "h1:a:b", map[string]string{"h1": "a:b"}, "equal"},
		{"an algorithm that is no ASCII", "sha256:" + sum, map[string]string{"\u017fha256": sum}, "different"},
		{"__proto__", "__proto__:ab", map[string]string{"__proto__": "AB"}, "equal"},
		{"a member of every object", "toString:ab", map[string]string{"sha256": sum}, "different"},
		{"no algorithm", sum, map[string]string{"sha256": sum}, "malformed"},
		{"empty", "", map[string]string{"sha256": sum}, "malformed"},
		{"a colon alone", ":", map[string]string{"sha256": sum}, "malformed"},
		{"empty algorithm", ":" + sum, map[string]string{"sha256": sum}, "malformed"},
		{"empty value", "sha256:", map[string]string{"sha256": sum}, "malformed"},
		{"value too short", "sha256:" + sum[:62], map[string]string{"sha256": sum}, "malformed"},
		{"value too long", "sha256:" + sum + "00", map[string]string{"sha256": sum}, "malformed"},
		{"value not hexadecimal", "sha256:" + sum[:63] + "g", map[string]string{"sha256": sum}, "malformed"},
		{"value not hexadecimal, algorithm in upper case", "SHA256:" + sum[:63] + "g", map[string]string{"sha256": sum}, "malformed"},
		{"blake3, too short", "blake3:00", map[string]string{"sha256": sum}, "malformed"},
		{"sm3", "SM3:" + sum, map[string]string{"sm3": upper}, "equal"},
		{"ripemd160", "ripemd160:" + commit, map[string]string{"RIPEMD160": commit}, "equal"},
		{"a space before", " sha256:" + sum, map[string]string{"sha256": sum}, "malformed"},
		{"a space behind", "sha256:" + sum + " ", map[string]string{"sha256": sum}, "malformed"},
		{"a space in a value of another algorithm", "h1:a b", map[string]string{"h1": "a b"}, "malformed"},
		{"a letter that is no ASCII", "h1:\u00e4", map[string]string{"h1": "\u00e4"}, "malformed"},
		{"an algorithm with an at sign", "a@b:00", map[string]string{"a@b": "00"}, "malformed"},
		{"an algorithm of 64 characters", strings.Repeat("a", 64) + ":00", map[string]string{strings.Repeat("a", 64): "00"}, "equal"},
		{"an algorithm of 65 characters", strings.Repeat("a", 65) + ":00", map[string]string{strings.Repeat("a", 65): "00"}, "malformed"},
		{"a value of 1,024 characters", "h1:" + strings.Repeat("x", 1024), map[string]string{"h1": strings.Repeat("x", 1024)}, "equal"},
		{"a value of 1,025 characters", "h1:" + strings.Repeat("x", 1025), map[string]string{"h1": strings.Repeat("x", 1025)}, "malformed"},
	} {
		d, err := entry.ParseDigest(c.Expected)
		got := "different"
		switch {
		case err != nil:
			got = "malformed"
		case d.In(c.Digest):
			got = "equal"
		}
		if got != c.Verdict {
			t.Errorf("%s: %s, want %s (%v)", c.Name, got, c.Verdict, err)
		}
		cases = append(cases, c)
	}
	golden(t, "digests.json", cases)
}

// A checkpoint over the limits keeps the cosignatures that the policies need. A
// policy whose quorum cannot fit is refused before it is used.
func TestTrimAndCheckLimits(t *testing.T) {
	w := newWorld(t)
	signed, err := Checkpoint{Origin: w.origin, Size: 1, Root: det[entry.Hash]("root")}.Sign(w.signer)
	if err != nil {
		t.Fatal(err)
	}
	policy := func(n int, threshold, name string) (*TrustPolicy, []string) {
		text, group, lines := "log "+w.vkey+"\n", "group g "+threshold, []string(nil)
		for i := range n {
			line, vkey := edWitness(t, fmt.Sprintf("%s%d", name, i), string(signed))
			text += fmt.Sprintf("witness w%d %s\n", i, vkey)
			group += fmt.Sprintf(" w%d", i)
			lines = append(lines, line)
		}
		p, err := ParseTrustPolicy("p", []byte(text+group+"\nquorum g\n"))
		if err != nil {
			t.Fatal(err)
		}
		return p, lines
	}
	for _, x := range []struct {
		name      string
		n         int
		threshold string
		key       string
		ok        bool // even all that are needed fit
		trimmed   bool
	}{
		{"few", 3, "all", "w", true, false},
		{"99 witnesses", 99, "all", "w", true, false},
		{"100 witnesses", 100, "all", "w", false, false},
		{"120 witnesses, any of which will do", 120, "any", "w", true, true},
		{"120 witnesses, 99 of which will do", 120, "99", "w", true, true},
		{"long names", 32, "all", strings.Repeat("n", 9000), false, false},
		{"long names, one of which will do", 32, "any", strings.Repeat("n", 9000), true, true},
	} {
		p, lines := policy(x.n, x.threshold, x.key)
		policies := []*TrustPolicy{p}
		if err := CheckLimits(policies); (err == nil) != x.ok {
			t.Errorf("%s: CheckLimits: %v", x.name, err)
		}
		if !x.ok {
			continue
		}
		all := []byte(string(signed) + strings.Join(lines, ""))
		got, err := Trim(all, policies)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if bytes.Equal(got, all) == x.trimmed {
			t.Errorf("%s: trimmed from %d to %d bytes", x.name, len(all), len(got))
		}
		if _, _, err := p.VerifyCheckpoint(got); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if err := CheckLimits(nil); err != nil {
		t.Error(err)
	}
	if !(&TrustPolicy{log: policyKey{Verifier: w.witness.Verifier()}}).Met(func(note.Verifier) bool { return true }) {
		t.Error("a policy without a quorum is not met by the log's signature")
	}
}
