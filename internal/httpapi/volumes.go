package httpapi

import (
	"encoding/binary"
	"io"

	"varve/internal/fail"
	"varve/internal/restore"
)

// The volumes of an archive come as the body of one request:
//
//	(length u32, little-endian, 1 to 1 MiB | bytes)... | length 0
//
// for each volume, one after another. The volumes end with the body.

// maxPiece bounds a piece of a volume: bytes.
const maxPiece = 1 << 20

// sendVolumes writes all volumes to w.
func sendVolumes(w io.Writer, v restore.Volumes) error {
	buf := make([]byte, 4+maxPiece/4)
	for n := 0; ; n++ {
		volume, err := v(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		err = sendVolume(w, volume, buf)
		volume.Close()
		if err != nil {
			return err
		}
	}
}

func sendVolume(w io.Writer, r io.Reader, buf []byte) error {
	for {
		n, err := io.ReadFull(r, buf[4:])
		if n > 0 {
			binary.LittleEndian.PutUint32(buf, uint32(n))
			if _, err := w.Write(buf[:4+n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			_, err = w.Write(make([]byte, 4))
			return err
		default:
			return fail.Wrap(fail.IO, err, "read the archive")
		}
	}
}

// receivedVolumes are the volumes in a body, with names for messages.
type receivedVolumes struct {
	body  io.Reader
	names []string
	n     int // volumes that were begun
	piece uint32
	open  bool
}

// next is a restore.Volumes.
func (v *receivedVolumes) next(n int) (restore.Volume, error) {
	for v.open { // what is left of the last one is not wanted
		if _, err := io.Copy(io.Discard, v); err != nil {
			return restore.Volume{}, err
		}
	}
	if n != v.n || n >= len(v.names) {
		return restore.Volume{}, io.EOF
	}
	v.n, v.open = n+1, true
	return restore.Volume{ReadCloser: io.NopCloser(v), Name: v.names[n]}, nil
}

// Read reads the volume that is open.
func (v *receivedVolumes) Read(p []byte) (int, error) {
	if !v.open {
		return 0, io.EOF
	}
	if v.piece == 0 {
		var head [4]byte
		if _, err := io.ReadFull(v.body, head[:]); err != nil {
			return 0, brokenOff(err)
		}
		if v.piece = binary.LittleEndian.Uint32(head[:]); v.piece > maxPiece {
			return 0, fail.New(fail.Invalid, "a piece of a volume has %d bytes", v.piece)
		}
		if v.piece == 0 {
			v.open = false
			return 0, io.EOF
		}
	}
	n, err := v.body.Read(p[:min(len(p), int(v.piece))])
	v.piece -= uint32(n)
	if n > 0 {
		err = nil
	}
	return n, brokenOff(err)
}

// brokenOff is the error of a body that ends within a volume: no end of the archive.
func brokenOff(err error) error {
	if err == nil {
		return nil
	}
	return fail.Wrap(fail.Canceled, err, "the archive did not come whole: its sender broke off")
}
