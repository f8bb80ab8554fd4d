;; Never ends.
(module (func (export "_start") (loop $for_ever (br $for_ever))))
