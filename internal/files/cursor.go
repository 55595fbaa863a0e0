package files

import (
	"varve/internal/inode"
	"varve/internal/tree"
)

// cursorItems is how many items a cursor takes along in one go.
const cursorItems = 512

// cursor goes through the items of a state in the order of their keys.
type cursor struct {
	s         *state
	next, end tree.Key
	items     []item
	at        int
	memory    []byte // of the values
}

type item struct {
	key   tree.Key
	value []byte
}

// head returns the item at hand, nil at the end.
func (c *cursor) head() *item {
	if c.at == len(c.items) {
		return nil
	}
	return &c.items[c.at]
}

// fill makes sure that there is an item at hand if there is one.
func (c *cursor) fill() error {
	if c.at < len(c.items) || !c.next.Less(c.end) {
		return nil
	}
	return c.s.Look(func(r inode.Reader) error {
		c.items, c.at, c.memory = c.items[:0], 0, c.memory[:0]
		err := r.Scan(c.next, c.end, func(k tree.Key, v []byte) bool {
			start := len(c.memory)
			c.memory = append(c.memory, v...)
			c.items = append(c.items, item{k, c.memory[start:len(c.memory):len(c.memory)]})
			return len(c.items) < cursorItems
		})
		if err != nil {
			return err
		}
		if len(c.items) < cursorItems {
			c.next = c.end
		} else {
			c.next = c.items[len(c.items)-1].key.Next()
		}
		return nil
	})
}
