package engine_test

import (
	"context"
	"testing"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
)

// What was set is there when the pool is opened again, after an end and after a
// crash, and is refused where it makes no sense.
func TestPropertiesStay(t *testing.T) {
	o := engine.Options{Store: mem.New(1<<20, 1<<30), CheckpointEvery: -1}
	c := newCrowd(t, o)
	if _, err := c.e.CreateVolume(tester, "d", 8*block); err != nil {
		t.Fatal(err)
	}
	set := map[string]string{"history": "12h,10%", "keep": "hourly:2", "quota": "1048576"}
	for k, v := range set {
		if _, err := c.e.Set(tester, "d", k, v); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range map[string]string{"history": "soon", "keep": "hourly", "budget": "much", "on-full": "explode", "access": "rw"} {
		if _, err := c.e.Set(tester, "d", k, v); err == nil {
			t.Errorf("%s=%s is taken", k, v)
		}
	}
	e := c.e
	for _, crash := range []bool{false, true} {
		if crash {
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			e.Abort()
		} else if err := e.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		var err error
		if e, err = engine.Open(o); err != nil {
			t.Fatal(err)
		}
		i, err := e.Dataset("d")
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range set {
			if i.Properties[k] != v {
				t.Errorf("after a crash %v: %s is %q, want %q", crash, k, i.Properties[k], v)
			}
		}
	}
	if err := e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
