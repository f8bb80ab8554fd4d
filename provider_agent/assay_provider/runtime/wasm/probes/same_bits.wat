;; Leaves in /output/bits what could differ between machines.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir"
    (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get"
    (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "bits")
  (data (i32.const 4112) "a")
  (func (export "_start") (local $n i32)
    ;; NaNs that processors make with another sign and payload
    (f64.store (i32.const 0) (f64.div (f64.const 0) (f64.const 0)))
    (f32.store (i32.const 8) (f32.sqrt (f32.const -1)))
    (f64.store (i32.const 16) (f64.sub (f64.const inf) (f64.const inf)))
    (f64.store (i32.const 24)
      (f64.promote_f32 (f32.add (f32.reinterpret_i32 (i32.const 0x7fa00001)) (f32.const 1))))
    (v128.store (i32.const 32)
      (f32x4.div (v128.const f32x4 0 -0 1 inf) (v128.const f32x4 0 0 3 inf)))
    ;; time, before and after some work
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 64)))
    (loop $work
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $work (i32.lt_u (local.get $n) (i32.const 100000))))
    (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 72)))
    (drop (call $random (i32.const 80) (i32.const 48)))
    (drop (call $args (i32.const 128) (i32.const 160)))
    (drop (call $env (i32.const 256) (i32.const 288)))
    (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 4112) (i32.const 1) (i32.const 384)))
    (drop (call $readdir
      (i32.const 3) (i32.const 512) (i32.const 512) (i64.const 0) (i32.const 448)))
    (if (call $open (i32.const 4) (i32.const 0) (i32.const 4096) (i32.const 4) (i32.const 1)
          (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 4200))
      (then unreachable))
    (i32.store (i32.const 4204) (i32.const 0))
    (i32.store (i32.const 4208) (i32.const 1024))
    (if (call $write (i32.load (i32.const 4200)) (i32.const 4204) (i32.const 1) (i32.const 4212))
      (then unreachable))))
