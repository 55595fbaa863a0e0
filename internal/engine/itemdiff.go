package engine

import (
	"bytes"
	"context"

	"varve/internal/tree"
)

// diffItems is how many items are read in one go.
const diffItems = 512

// ItemDiff visits, in the order of their keys, the items in which w, a view of the
// same share or of a clone, differs from v: was is nil if the item came, is if it
// went. What costs time is what changed: leaves that both have are left out. The
// values are valid until fn returns. An error of fn ends it and is returned.
func (v *View) ItemDiff(ctx context.Context, w *View, fn func(k tree.Key, was, is []byte) error) error {
	ranges, err := v.Unshared(w)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if err := itemDiff(ctx, v.vers, w.vers, r, fn); err != nil {
			return err
		}
	}
	return nil
}

func itemDiff(ctx context.Context, v, w *tree.Version, r KeyRange, fn func(k tree.Key, was, is []byte) error) error {
	a, b := itemCursor{v: v, KeyRange: r}, itemCursor{v: w, KeyRange: r}
	for {
		if err := a.fill(); err != nil {
			return err
		}
		if err := b.fill(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		x, y := a.head(), b.head()
		var err error
		switch {
		case x == nil && y == nil:
			return nil
		case y == nil || x != nil && x.key.Less(y.key):
			err = fn(x.key, x.value, nil)
			a.at++
		case x == nil || y.key.Less(x.key):
			err = fn(y.key, nil, y.value)
			b.at++
		default:
			if !bytes.Equal(x.value, y.value) {
				err = fn(x.key, x.value, y.value)
			}
			a.at++
			b.at++
		}
		if err != nil {
			return err
		}
	}
}

// itemCursor goes through the items of a version in [From, To).
type itemCursor struct {
	v *tree.Version
	KeyRange
	items  []item
	at     int
	memory []byte // of the values
}

type item struct {
	key   tree.Key
	value []byte
}

// head returns the item at hand, nil at the end.
func (c *itemCursor) head() *item {
	if c.at == len(c.items) {
		return nil
	}
	return &c.items[c.at]
}

// fill makes sure that there is an item at hand if there is one.
func (c *itemCursor) fill() error {
	if c.at < len(c.items) || !c.From.Less(c.To) {
		return nil
	}
	c.items, c.at, c.memory = c.items[:0], 0, c.memory[:0]
	err := c.v.Blocking().Scan(c.From, c.To, func(k tree.Key, v []byte) bool {
		start := len(c.memory)
		c.memory = append(c.memory, v...)
		c.items = append(c.items, item{k, c.memory[start:len(c.memory):len(c.memory)]})
		return len(c.items) < diffItems
	})
	if err != nil {
		return err
	}
	c.From = c.To
	if n := len(c.items); n == diffItems {
		c.From = c.items[n-1].key.Next()
	}
	return nil
}
