// Arithmetic for the living pages: a convolutional encoder's forward pass, distances, probabilities.
//
// Classic scripts, since a page that was opened as a file may load neither modules nor data: each adds its parts to the
// one global `living`. An image or a map is {data, channels, height, width}, data a Float32Array, channel by channel.
(() => {
  const living = (window.living = window.living || {});

  function bytesOf(base64) {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;
  }

  // Browsers have had float16 for a short while only. A half is 1 bit of sign, 5 of exponent, 10 of fraction.
  function fromHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    if (exponent === 0) return sign * fraction * 2 ** -14;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction) * 2 ** (exponent - 15);
  }

  living.float16 = (base64) => Float32Array.from(new Uint16Array(bytesOf(base64)), fromHalf);
  living.float32 = (base64) => new Float32Array(bytesOf(base64));

  // With a border of zeros the loops of a convolution need no question whether they are still inside.
  function padded(image) {
    const { data, channels, height, width } = image;
    const wide = width + 2;
    const result = new Float32Array(channels * (height + 2) * wide);
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        const start = (c * height + y) * width;
        result.set(data.subarray(start, start + width), (c * (height + 2) + y + 1) * wide + 1);
      }
    }
    return result;
  }

  // A convolution 3x3 with padding 1, scaled and shifted for each channel (that is its bias and a normalisation with
  // stored statistics), and ReLU.
  living.block = (image, { weight, scale, shift, stride }) => {
    const { channels, height, width } = image;
    const [tall, wide] = [height + 2, width + 2];
    const source = padded(image);
    const outputs = scale.length;
    const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
    const data = new Float32Array(outputs * rows * columns);
    for (let o = 0, at = 0; o < outputs; o++) {
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++, at++) {
          let sum = 0;
          for (let c = 0; c < channels; c++) {
            const kernel = (o * channels + c) * 9;
            const corner = (c * tall + y * stride) * wide + x * stride;
            for (let k = 0; k < 3; k++) {
              const w = kernel + 3 * k;
              const s = corner + k * wide;
              sum += weight[w] * source[s] + weight[w + 1] * source[s + 1] + weight[w + 2] * source[s + 2];
            }
          }
          data[at] = Math.max(0, sum * scale[o] + shift[o]);
        }
      }
    }
    return { data, channels: outputs, height: rows, width: columns };
  };

  living.meanOverPlaces = ({ data, channels, height, width }) => {
    const size = height * width;
    const mean = new Float32Array(channels);
    for (let i = 0; i < data.length; i++) mean[Math.floor(i / size)] += data[i] / size;
    return mean;
  };

  // An encoder from its weights in base64: a function from an image to its features.
  living.encoder = ({ layers }) => {
    const blocks = layers.map(({ stride, weight, scale, shift }) => ({
      stride,
      weight: living.float16(weight),
      scale: living.float32(scale),
      shift: living.float32(shift),
    }));
    return (image) => living.meanOverPlaces(blocks.reduce(living.block, image));
  };

  living.meanOf = (vectors) =>
    vectors[0].map((_, i) => vectors.reduce((sum, vector) => sum + vector[i], 0) / vectors.length);

  living.squaredDistance = (a, b) => a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);

  living.softmax = (logits) => {
    const top = Math.max(...logits);
    const powers = logits.map((logit) => Math.exp(logit - top));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((power) => power / sum);
  };
})();
