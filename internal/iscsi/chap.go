package iscsi

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"

	"varve/internal/fail"
)

// CHAP (RFC 1994, RFC 7143 12.1.3). The initiator proves that it knows a secret,
// and then, if it wants, we do:
//
//	initiator                          target
//	CHAP_A=list of algorithms     ->
//	                              <-   CHAP_A=one CHAP_I=id CHAP_C=challenge
//	CHAP_N=user CHAP_R=hash(id, secret, challenge)
//	[CHAP_I=id2 CHAP_C=challenge2]->
//	                              <-   [CHAP_N=user2 CHAP_R=hash(id2, secret2, challenge2)]
//
// Our challenge is random, made for one login, and good for one answer. We
// answer a challenge only to who has proved itself, never our own challenge, and
// with another secret than the one asked for: so nobody can have us compute the
// answer to what we ask.
type chap struct {
	want      Credentials // of the initiator
	ours      Credentials // for the initiator; no user: we do not prove ourselves
	newHash   func() hash.Hash
	id        byte
	challenge []byte
}

// Credentials are a user's name and secret.
type Credentials struct{ User, Secret string }

func (c Credentials) set() bool { return c.User != "" && c.Secret != "" }

// chapHashes are the algorithms by their number (IANA, PPP authentication).
var chapHashes = map[string]func() hash.Hash{
	"5": md5.New,
	"6": sha1.New,
	"7": sha256.New,
	"8": func() hash.Hash { return sha3.New256() },
}

// maxChallenge bounds a challenge in bytes (RFC 7143, 12.1.3).
const maxChallenge = 1024

var (
	errCHAP     = fail.New(fail.Denied, "CHAP failed").WithHint("check user and secret on both sides")
	errCHAPKeys = fail.New(fail.Denied, "CHAP keys that are none, or out of order")
	errReflect  = fail.New(fail.Denied, "CHAP: our own challenge came back")
)

// begin answers CHAP_A.
func (c *chap) begin(algorithms string) ([]pair, error) {
	var chosen string
	for a := range strings.SplitSeq(algorithms, ",") {
		if c.newHash = chapHashes[a]; c.newHash != nil {
			chosen = a
			break
		}
	}
	if chosen == "" {
		return nil, errCHAPKeys
	}
	random := make([]byte, 1+c.newHash().Size())
	rand.Read(random)
	c.id, c.challenge = random[0], random[1:]
	return []pair{
		{"CHAP_A", chosen},
		{"CHAP_I", strconv.Itoa(int(c.id))},
		{"CHAP_C", "0x" + hex.EncodeToString(c.challenge)},
	}, nil
}

// prove judges CHAP_N and CHAP_R, and answers a challenge of the initiator.
func (c *chap) prove(keys map[string]string) ([]pair, error) {
	challenge := c.challenge
	c.challenge = nil
	response, err := binaryValue(keys["CHAP_R"])
	if challenge == nil || err != nil {
		return nil, errCHAPKeys
	}
	good := c.answer(c.id, c.want.Secret, challenge)
	right := subtle.ConstantTimeCompare(response, good)
	if right&subtle.ConstantTimeCompare([]byte(keys["CHAP_N"]), []byte(c.want.User)) != 1 {
		return nil, errCHAP
	}
	id, asked := keys["CHAP_I"]
	theirs, challenged := keys["CHAP_C"]
	if !asked && !challenged {
		return nil, nil
	}
	return c.proveOurselves(id, theirs, challenge)
}

func (c *chap) proveOurselves(id, challenge string, ours []byte) ([]pair, error) {
	n, ok := number(id)
	theirs, err := binaryValue(challenge)
	switch {
	case !ok || n > 255 || err != nil || len(theirs) == 0 || len(theirs) > maxChallenge:
		return nil, errCHAPKeys
	case subtle.ConstantTimeCompare(theirs, ours) == 1:
		return nil, errReflect
	case !c.ours.set():
		return nil, fail.New(fail.Denied, "CHAP: the initiator asks who we are, and no secret is set for that").
			WithHint("set iscsi-mutual-user and iscsi-mutual-secret")
	case subtle.ConstantTimeCompare([]byte(c.ours.Secret), []byte(c.want.Secret)) == 1:
		return nil, fail.New(fail.Denied, "CHAP: iscsi-secret and iscsi-mutual-secret are the same").WithHint("set two that differ")
	}
	return []pair{
		{"CHAP_N", c.ours.User},
		{"CHAP_R", "0x" + hex.EncodeToString(c.answer(byte(n), c.ours.Secret, theirs))},
	}, nil
}

func (c *chap) answer(id byte, secret string, challenge []byte) []byte {
	h := c.newHash()
	h.Write([]byte{id})
	h.Write([]byte(secret))
	h.Write(challenge)
	return h.Sum(nil)
}

// binaryValue parses a binary value (RFC 7143, 6.1): 0x and hexadecimal, or 0b
// and base 64.
func binaryValue(v string) ([]byte, error) {
	if len(v) < 2 || len(v) > 4*maxChallenge {
		return nil, errCHAPKeys
	}
	switch v[:2] {
	case "0x", "0X":
		return hex.DecodeString(v[2:])
	case "0b", "0B":
		return base64.StdEncoding.DecodeString(v[2:])
	}
	return nil, errCHAPKeys
}
