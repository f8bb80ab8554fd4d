;; The least that is a program.
(module (func (export "_start")))
